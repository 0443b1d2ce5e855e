"""The HTTP side: what comes in becomes calls of the pipeline, what comes out becomes OpenAI's shapes."""
