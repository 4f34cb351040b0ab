"""Command lines of the scripts here: a bad value is one line on stderr and exit code 2."""

import argparse


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\n")


def at_least(least):
    """A type of argument: an integer of least or more."""

    def integer(text):
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"it is {text}: it must be {least} or more")
        return value

    return integer


def fraction(text):
    """A type of argument: a number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"it is {text}: it must be 0 to 1")
    return value
