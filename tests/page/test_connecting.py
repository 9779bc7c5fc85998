"""The panel with addresses for each system, and the QR code: read by another's decoder."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from importlib.resources import files as resources
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.conftest import lack
from tests.page.driving import Files

Open = Callable[..., Files]
NPM = Path(__file__).resolve().parents[2] / ".clients" / "npm" / "node_modules"
QR = Path(str(resources("davserver.web").joinpath("page", "qr.js")))
DECODE = """
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
const { QrCode } = await import("data:text/javascript," + encodeURIComponent(readFileSync($QR)));
const decode = createRequire($NPM)("jsqr");
const read = (text) => {
  const code = QrCode.of(text);
  if (!code) return null;
  const [scale, quiet] = [4, 4];
  const size = (code.size + 2 * quiet) * scale;
  const pixels = new Uint8ClampedArray(size * size * 4).fill(255);
  code.modules.forEach((row, y) => row.forEach((dark, x) => {
    if (!dark) return;
    for (let i = 0; i < scale * scale; i++) {
      const px = (x + quiet) * scale + (i % scale);
      const py = (y + quiet) * scale + Math.floor(i / scale);
      pixels.fill(0, (py * size + px) * 4, (py * size + px) * 4 + 3);
    }
  }));
  const found = decode(pixels, size, size);
  return [code.version, found && Buffer.from(found.binaryData).toString()];
};
console.log(JSON.stringify(JSON.parse(readFileSync(0)).map(read)));
"""


@pytest.fixture
def decode(client: Callable[[str], str]) -> Callable[[list[str]], list[tuple[int, str] | None]]:
    """Returns a function that encodes texts and has npm's jsQR read them: (version, text)."""
    node = client("node")
    if not (NPM / "jsqr").is_dir():
        lack(f"npm's jsqr is not in {NPM} (sh tests/run.sh installs it)")

    def run(texts: list[str]) -> list[tuple[int, str] | None]:
        script = DECODE.replace("$QR", json.dumps(str(QR)))
        script = script.replace("$NPM", json.dumps(str(NPM / "x")))
        done = subprocess.run(
            [node, "--input-type=module", "-e", script],
            input=json.dumps(texts),
            capture_output=True,
            text=True,
            timeout=40,
            check=True,
        )
        return [tuple(one) if one else None for one in json.loads(done.stdout)]

    return run


def test_codes_of_every_version_are_read_back(
    decode: Callable[[list[str]], list[tuple[int, str] | None]],
) -> None:
    lengths = [1, 14, 26, 42, 62, 84, 106, 122, 152, 180, 213, 251, 287, 331, 362, 412, 450]
    lengths += [504, 560, 624, 666]
    texts = ["https://files.example.org/dav/" + "ü" + "x" * 700]
    texts = [(texts[0] * 2).encode()[:n].decode("utf-8", "ignore") for n in lengths]
    texts.append("日本 & <dav>")

    found = decode(texts)

    assert [one and one[1] for one in found] == texts
    assert {one[0] for one in found if one} >= set(range(1, 21))


def test_what_is_too_long_has_no_code(
    decode: Callable[[list[str]], list[tuple[int, str] | None]],
) -> None:
    assert decode(["x" * 667]) == [None]


@pytest.mark.parametrize("server", [{"prefix": "/dav"}], indirect=True)
def test_the_panel_has_the_address_of_the_folder_for_each_system(
    open_files: Open, folder: Path
) -> None:
    inner = folder / "my files"
    inner.mkdir()
    files = open_files(inner)
    files.button("Connect").click()
    files.dialog.get_by_role("img", name="QR code").wait_for()

    told = files.dialog.locator("dd code").all_text_contents()
    host = f"127.0.0.1:{files.server.port}"
    path = f"/dav/{quote(folder.name)}/my%20files/"
    assert told == [
        f"http://{host}{path}",
        rf"\\127.0.0.1@{files.server.port}\DavWWWRoot\dav\{folder.name}\my files",
        f'net use Z: "http://{host}{path}"',
        f"dav://{host}{path}",
        f"webdav://{host}{path}",
        f"sudo mount -t davfs 'http://{host}{path}' /mnt",
    ]
