"""An A2A agent that looks at portfolios.

python agents/financial_analyst.py --port 9002 --registry http://localhost:8080/sse
"""

import re

from serve import serve

SKILLS = {"portfolio-analysis": "weights and concentration of holdings, given as in 'ACME 600, BOND 400'"}


def answer(text):
    holdings = {name: float(value) for name, value in re.findall(r"\b([A-Z]{2,6}) (\d+(?:\.\d+)?)", text)}
    total = sum(holdings.values())
    if not total:
        return "Tell me your holdings, for example: ACME 600, BOND 400"
    weights = {name: value / total for name, value in sorted(holdings.items(), key=lambda held: -held[1])}
    concentration = sum(weight**2 for weight in weights.values())
    shares = ", ".join(f"{name} {weight:.0%}" for name, weight in weights.items())
    return f"{shares}; concentration {concentration:.2f} (1 is a single holding)"


serve("financial-analyst-001", "Analyzes portfolios", SKILLS, answer)
