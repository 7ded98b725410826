"""What a result says about its origin: that its picture was generated.

The note is written twice: as plain JSON where players and file managers show a comment, and as the
XMP packet that tools look for. Its term is IPTC's digital source type `trainedAlgorithmicMedia`,
which IPTC asks generators to embed in the XMP of pictures and videos (IPTC Photo Metadata User
Guide, "Guidance for using Digital Source Type"; http://cv.iptc.org/newscodes/digitalsourcetype).
In an mp4 the packet stands in a `uuid` box at the top level (XMP Specification, part 3, "MPEG-4").
The sound of a result is the user's own recording, and the note does not claim it.
"""

import json
import struct
import uuid
from xml.sax.saxutils import escape

GENERATOR = "ComfyUI-EMO"
TITLE = "Generated talking portrait"
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

_XMP_BOX = uuid.UUID("be7acfcb-97a9-42e8-9c71-999491e3afac")

_XMP_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
   <Iptc4xmpExt:DigitalSourceType>{source}</Iptc4xmpExt:DigitalSourceType>
   <xmp:CreatorTool>{generator}</xmp:CreatorTool>
   <dc:description><rdf:Alt><rdf:li xml:lang="x-default">{note}</rdf:li></rdf:Alt></dc:description>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


def generated_note(comment: str) -> str:
    """One line of JSON: generated, generator, digital_source_type and the caller's comment."""
    note = {
        "generated": True,
        "generator": GENERATOR,
        "digital_source_type": DIGITAL_SOURCE_TYPE,
        "comment": comment,
    }
    return json.dumps(note)


def xmp_packet(comment: str) -> str:
    """The XMP packet with the digital source type and, as description, the note."""
    return _XMP_PACKET.format(
        source=DIGITAL_SOURCE_TYPE, generator=GENERATOR, note=escape(generated_note(comment))
    )


def xmp_box(comment: str) -> bytes:
    """The packet as a top-level box, to be appended to a finished mp4 file."""
    body = _XMP_BOX.bytes + xmp_packet(comment).encode("utf-8")
    return struct.pack(">I4s", 8 + len(body), b"uuid") + body
