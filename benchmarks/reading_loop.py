"""The least anybody can do: read the log and parse each line."""

import sys

import orjson

with open(sys.argv[1], "rb", 1 << 20) as file:
    for line in file:
        orjson.loads(line)
