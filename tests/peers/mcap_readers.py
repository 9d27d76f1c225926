"""Reads episode files with the Python packages of MCAP's own makers.

    hindsight collect --port sim --task push --policy expert --out EPISODES
    python tests/peers/mcap_readers.py EPISODES

Every file of EPISODES must be read: a whole one by the reader that seeks, with every chunk's CRC checked; one that was
cut off, as a killed process leaves it, from its beginning. Each message is decoded by the schema that the file itself
carries. Ticks must count from 0 without gaps, and each must be stamped with its own time. `--killed` says that files
may be cut off: without it, one that is counts as an error. Exits with 1 at the first difference.
"""

import argparse
import sys
from pathlib import Path

from mcap.exceptions import EndOfFile
from mcap.reader import NonSeekingReader, SeekingReader
from mcap_protobuf.decoder import DecoderFactory


def messages(path, whole):
    """Topic, log time in ns and decoded message, in the file's order."""
    reader = SeekingReader if whole else NonSeekingReader
    with path.open("rb") as file:
        stream = reader(file, validate_crcs=whole, decoder_factories=[DecoderFactory()])
        try:
            # In the file's order, also where two stamps are equal.
            for _, channel, message, decoded in stream.iter_decoded_messages(log_time_order=False):
                yield channel.topic, message.log_time, decoded
        except EndOfFile:
            # What the file lacks is its end; all before it has been given.
            assert not whole, f"{path}: ends early"


def is_whole(path):
    """Whether the file ends as MCAP ends."""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 8))
        return file.read() == b"\x89MCAP0\r\n"


def check(path, may_be_cut):
    """Number of ticks, and whether the file is whole."""
    whole = is_whole(path)
    assert whole or may_be_cut, f"{path}: is cut off"
    ticks, start, last = 0, None, None
    for topic, time_ns, message in messages(path, whole):
        if start is None:
            assert topic == "/episode/start", f"{path}: begins with {topic}"
            start = message
        elif topic == "/tick":
            assert message.index == ticks, f"{path}: tick {message.index}, expected {ticks}"
            # Without a wall clock the host's own is the time.
            expected_us = (start.wall_us - start.stamp_us if start.wall_us else 0) + message.stamp_us
            assert time_ns == 1000 * expected_us, f"{path}: tick {ticks} is stamped {time_ns}"
            ticks += 1
        last = topic
    assert start is not None, f"{path}: holds no message"
    assert not whole or last in ("/episode/end", "/bus"), f"{path}: ends with {last}"
    return ticks, whole


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("episodes", type=Path)
    parser.add_argument("--killed", action="store_true")
    arguments = parser.parse_args()
    files = sorted(arguments.episodes.glob("*.mcap"))
    assert files, f"{arguments.episodes}: no episodes"
    found = [check(path, arguments.killed) for path in files]
    print(f"{len(files)} files, {sum(not whole for _, whole in found)} cut off, {sum(n for n, _ in found)} ticks")


if __name__ == "__main__":
    try:
        main()
    except AssertionError as difference:
        sys.exit(f"difference: {difference}")
