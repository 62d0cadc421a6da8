"""What a call costs, by the table in `prices.json`: the models of each provider and their prices, in US dollars per million
tokens, as the providers published them; `id` is the name that AWS has for a model. Prices change: compare with your bill. A
model that is not in the table works too, and its calls cost `null`.
"""

import json
from pathlib import Path

PRICES = json.loads(Path(__file__).with_name("prices.json").read_text())


def known_models(provider: str) -> list[str]:
    return list(PRICES.get(provider, {}))


def model_id(provider: str, model: str) -> str:
    """The provider's own name of a model that the table knows by a shorter one."""
    return PRICES.get(provider, {}).get(model, {}).get("id", model)


def cost(provider: str, model: str, prompt_tokens: int | None, completion_tokens: int | None) -> float | None:
    """US dollars, or None if the price or the tokens are not known: an unknown cost must not look like a free call."""
    table = PRICES.get(provider, {}).items()
    price = next((price for name, price in table if model in (name, price.get("id"))), None)
    if price is None or prompt_tokens is None or completion_tokens is None:
        return None
    return round((prompt_tokens * price["prompt"] + completion_tokens * price["completion"]) / 1e6, 6)
