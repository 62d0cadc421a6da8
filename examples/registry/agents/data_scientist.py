"""An A2A agent that describes numbers.

python agents/data_scientist.py --port 9001 --registry http://localhost:8080/sse
"""

import re
import statistics

from serve import serve

SKILLS = {"statistics": "mean, median and standard deviation of the numbers in a message"}


def answer(text):
    numbers = [float(number) for number in re.findall(r"(?<![\w.-])-?\d+(?:\.\d+)?", text)]
    if not numbers:
        return "I can do: " + "; ".join(f"{name}: {what}" for name, what in SKILLS.items())
    mean, median, spread = statistics.fmean(numbers), statistics.median(numbers), statistics.pstdev(numbers)
    return f"{len(numbers)} numbers: mean {mean:g}, median {median:g}, standard deviation {spread:g}"


serve("data-scientist-761966", "Describes numbers", SKILLS, answer)
