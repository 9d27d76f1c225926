"""Judges exported views with the mcap package, Foxglove's own schemas and Rerun's loader.

    hindsight episodes export EPISODES --format foxglove --out VIEWS
    python tests/peers/foxglove_view.py VIEWS

Every view must be a valid MCAP file whose messages are those of Foxglove's schemas, field by field, and Rerun must load
it with the arm's transforms. Prints what was found; exits with 1 at the first difference.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from foxglove_schemas_protobuf.FrameTransforms_pb2 import FrameTransforms
from foxglove_schemas_protobuf.SceneUpdate_pb2 import SceneUpdate
from google.protobuf import json_format
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory


def expect(condition, what):
    if not condition:
        sys.exit(f"FAILED: {what}")


def without_times(value):
    """JSON writes times as {sec, nsec}, protobuf's JSON as text; and null where a list is empty."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in ("timestamp", "lifetime")}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def check(path):
    with open(path, "rb") as file:
        reader = make_reader(file, validate_crcs=True, decoder_factories=[DecoderFactory()])
        transforms, scenes, last = 0, [], []
        for schema, channel, message in reader.iter_messages():
            if channel.topic == "/scene":
                expect((schema.name, schema.encoding) == ("foxglove.SceneUpdate", "jsonschema"), "schema of /scene")
                scenes.append(json.loads(message.data))
        for schema, channel, message, decoded in reader.iter_decoded_messages(topics=["/tf"]):
            expect((schema.name, channel.message_encoding) == ("foxglove.FrameTransforms", "protobuf"), "schema of /tf")
            theirs = FrameTransforms.FromString(message.data)
            expect(theirs.SerializeToString(deterministic=True) == message.data, "a field that Foxglove does not know")
            frames = [(t.parent_frame_id, t.child_frame_id, t.translation.x, t.rotation.w) for t in decoded.transforms]
            same = [(t.parent_frame_id, t.child_frame_id, t.translation.x, t.rotation.w) for t in theirs.transforms]
            expect(frames == same and len(frames) >= 6, "the file's own descriptor reads otherwise than Foxglove's")
            stamp = theirs.transforms[0].timestamp.ToNanoseconds()
            expect(stamp == message.log_time, f"stamp {stamp}, logged at {message.log_time}")
            transforms, last = transforms + 1, frames
    expect(len(scenes) == 1, f"{len(scenes)} scenes")
    update = json_format.ParseDict(without_times(scenes[0]), SceneUpdate())
    children = {child for _, child, _, _ in last} | {"base"}
    for entity in update.entities:
        expect(entity.frame_id in children, f"{entity.id} is in frame {entity.frame_id}, which no transform gives")
    kinds = ("cubes", "spheres", "cylinders", "lines")
    shapes = {kind: sum(len(getattr(entity, kind)) for entity in update.entities) for kind in kinds}
    print(f"{path.name}: {transforms} transforms, {len(update.entities)} entities, {shapes}")


def load_in_rerun(path):
    """Rerun's command line finds nothing wrong, converts the view, makes transforms of /tf, and shapes of the arm in
    frames that these move."""

    def rerun(*arguments):
        program = Path(sys.executable).with_name("rerun")
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
        expect(done.returncode == 0, f"rerun {arguments[0]} {arguments[1]}: {done.stderr}")
        return done.stdout

    checked = rerun("mcap", "check", path)
    expect(all("ok" in line for line in checked.splitlines() if "/tf" in line or "/scene" in line), checked)
    with tempfile.TemporaryDirectory() as folder:
        rrd = Path(folder) / "view.rrd"
        rerun("mcap", "convert", path, "-o", rrd)
        rerun("rrd", "verify", rrd)
        printed = rerun("rrd", "print", rrd)
        lines = [line for line in printed.splitlines() if " - /tf - " in line]
    shapes = set(re.findall(r"/collision_geometries/\S+", printed))
    expect(len(shapes) >= 6, f"Rerun makes {len(shapes)} shapes of /robot_description")
    made = sorted({column for line in lines for column in re.findall(r"Transform3D:\w+", line)})
    expect(made, f"Rerun makes no Transform3D of /tf: {lines[:2]}")
    print(f"Rerun loads {path.name}: {len(shapes)} shapes, {', '.join(made)}")


def main(folder):
    views = sorted(Path(folder).glob("view-*.mcap"))
    expect(views, f"no view in {folder}")
    for view in views:
        check(view)
    load_in_rerun(views[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
