"""What 302.AI's page says of each model, written down from the page and not from `config/models.toml`.

The tests hold catalogue and coercion to this table; it must know nothing of either.
"""

from typing import Literal, NamedTuple

Kind = Literal["free", "none", "ratio", "size", "side"]


class Rule(NamedTuple):
    """A sentence of the page: the accepted values, and what any other value "will be treated as"."""

    kind: Kind
    values: tuple[str, ...] = ()
    otherwise: str = ""


class Row(NamedTuple):
    """A model; `price` in USD an image."""

    id: str
    rule: str
    image: str
    price: float


RULES = {
    "free": Rule("free"),
    "none": Rule("none"),
    "stability": Rule("ratio", ("16:9", "1:1", "21:9", "2:3", "3:2", "4:5", "5:4", "9:16", "9:21"), "1:1"),
    "ideogram": Rule(
        "ratio", ("1:1", "10:16", "16:10", "9:16", "16:9", "3:2", "2:3", "4:3", "3:4", "1:3", "3:1"), "1:1"
    ),
    "standard": Rule("ratio", ("16:9", "9:16", "1:1", "4:3", "3:4", "21:9", "9:21"), "1:1"),
    "flux-ultra": Rule("ratio", ("21:9", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21"), "16:9"),
    "square": Rule("size", ("256x256", "512x512", "1024x1024"), "1024x1024"),
    "cogview": Rule(
        "size",
        ("1024x1024", "768x1344", "864x1152", "1344x768", "1152x864", "1440x720", "720x1440"),
        "1024x1024",
    ),
    "doubao": Rule("side", ("256", "768"), "512"),
}

# In the page's order. It lists 302ai-lora-t2i twice; the price of stable-sd3-turbo is its siblings', for it has none.
_TABLE = """
dall-e-3-t2i                      square      none      0.04
dall-e-2-t2i                      square      none      0.02
stable-v1-t2i                     free        none      0.01
stable-sd2-t2i                    stability   none      0.1
stable-sd3-ultra-t2i              stability   none      0.15
stable-sd3-t2i                    stability   none      0.1
stable-sd3.5-medium-t2i           stability   none      0.1
stable-sd3.5-large-t2i            stability   none      0.1
stable-sd3-turbo-t2i              stability   none      0.1
stable-sd3-i2i                    none        required  0.1
stable-sd3.5-medium-i2i           none        required  0.1
stable-sd3.5-large-i2i            none        required  0.1
stable-sd3-turbo-i2i              none        required  0.1
302ai-sdxl-t2i                    free        none      0.015
302ai-sdxl-lora-t2i               free        none      0.01
302ai-sdxl-lighting-t2i           free        none      0.005
302ai-sdxl-lighting-v2-t2i        free        none      0.005
302ai-sd3-t2i                     free        none      0.05
302ai-aura-flow-t2i               free        none      0.01
302ai-kolors-t2i                  free        none      0.05
302ai-kolors-i2i                  free        required  0.05
302ai-sd35-large-t2i              free        none      0.1
302ai-sd35-large-turbo-t2i        free        none      0.05
302ai-sd35-medium-t2i             free        none      0.05
302ai-lumina-t2i                  free        none      0.1
302ai-omnigen-v1-t2i              free        none      0.1
302ai-playground-v25-t2i          free        none      0.01
302ai-lora-t2i                    free        none      0.05
flux-pro-1.1-ultra-t2i            free        none      0.06
flux-pro-1.1-t2i                  free        none      0.04
flux-pro-t2i                      free        none      0.05
flux-dev-t2i                      free        none      0.025
flux-pro-1.0-fill-t2i             free        optional  0.05
flux-pro-1.0-canny-t2i            free        optional  0.05
flux-pro-1.0-depth-t2i            free        optional  0.05
flux-pro-1.1-ultra-finetuned-t2i  free        none      0.07
flux-pro-1.0-finetuned-t2i        free        none      0.06
flux-pro-1.0-depth-finetuned-t2i  free        optional  0.06
flux-pro-1.0-canny-finetuned-t2i  free        optional  0.06
flux-pro-1.0-fill-finetuned-t2i   free        optional  0.06
302ai-flux-v1.1-ultra-t2i         flux-ultra  none      0.1
302ai-flux-v1.1-pro-t2i           free        none      0.1
302ai-flux-pro-t2i                free        none      0.1
302ai-flux-dev-t2i                free        none      0.05
302ai-flux-schnell-t2i            free        none      0.005
302ai-flux-realism-t2i            free        none      0.05
ideogram-v1-t2i                   ideogram    none      0.06
ideogram-v1-turbo-t2i             ideogram    none      0.02
ideogram-v2-t2i                   ideogram    none      0.08
ideogram-v2-turbo-t2i             ideogram    none      0.05
ideogram-v2a-t2i                  ideogram    none      0.04
ideogram-v2a-turbo-t2i            ideogram    none      0.025
recraft-v3-t2i                    free        none      0.05
recraft-20b-t2i                   free        none      0.03
luma-t2i                          standard    none      0.05
luma-flash-t2i                    standard    none      0.01
doubao-v2-t2i                     doubao      none      0.05
doubao-v2-l-t2i                   doubao      none      0.05
doubao-v2.1-l-t2i                 doubao      none      0.05
doubao-v3-t2i                     doubao      none      0.05
google-v3-t2i                     standard    none      0.1
google-v3-fast-t2i                standard    none      0.05
minimaxi-t2i                      standard    none      0.01
cogview-4-t2i                     cogview     none      0.01
cogview-4-250304-t2i              cogview     none      0.01
baidu-irag-t2i                    free        none      0.05
hidream-i1-full-t2i               free        none      0.05
hidream-i1-dev-t2i                free        none      0.03
hidream-i1-fast-t2i               free        none      0.01
"""
ROWS = [Row(id_, rule, image, float(price)) for id_, rule, image, price in map(str.split, _TABLE.strip().splitlines())]

SIBLINGS = {
    "stable-sd3-t2i": "stable-sd3-i2i",
    "stable-sd3.5-medium-t2i": "stable-sd3.5-medium-i2i",
    "stable-sd3.5-large-t2i": "stable-sd3.5-large-i2i",
    "stable-sd3-turbo-t2i": "stable-sd3-turbo-i2i",
    "302ai-kolors-t2i": "302ai-kolors-i2i",
}
