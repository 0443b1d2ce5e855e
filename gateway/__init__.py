"""An OpenAI-compatible gateway to the image models of 302.AI."""

__version__ = "0.1.0"
