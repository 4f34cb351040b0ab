package imaging

import (
	"bytes"
	"encoding/binary"
)

// Orientation is EXIF's: which side of the stored picture is up. Upright is
// the ordinary one; 0 is none given and means the same.
type Orientation uint8

// Upright is a picture that is stored as it is to be seen.
const Upright Orientation = 1

// sideways says whether the stored width is the height that is seen.
func (o Orientation) sideways() bool { return o >= 5 && o <= 8 }

// index gives, for a picture that is stored with width×height pixels, where
// pixel 0,0 is seen, and how far one stored pixel to the right and one down
// move there: as offsets in a result with stride pixels a row.
// The eight cases are those of the tag Orientation in the EXIF standard
// (CIPA DC-008, 4.6.5).
func (o Orientation) index(width, height, stride int) (origin, right, down int) {
	lastX, lastY := width-1, height-1
	switch o {
	case 2: // mirrored
		return lastX, -1, stride
	case 3: // upside down
		return lastY*stride + lastX, -1, -stride
	case 4: // upside down, mirrored
		return lastY * stride, 1, -stride
	case 5: // the first row is the left side, the first column the top
		return 0, stride, 1
	case 6: // the first row is the right side, the first column the top
		return lastY, stride, -1
	case 7: // the first row is the right side, the first column the bottom
		return lastX*stride + lastY, -stride, -1
	case 8: // the first row is the left side, the first column the bottom
		return lastX * stride, -stride, 1
	}
	return 0, 1, stride
}

// orientation finds the EXIF orientation in a JPEG, PNG or WebP; Upright where
// there is none or where it makes no sense: a picture is not refused for its
// metadata.
func orientation(picture []byte) Orientation {
	var exif []byte
	switch {
	case bytes.HasPrefix(picture, []byte("\xff\xd8")):
		exif = exifOfJPEG(picture[2:])
	case bytes.HasPrefix(picture, []byte("\x89PNG\r\n\x1a\n")):
		exif = exifOfPNG(picture[8:])
	case len(picture) >= 12 && string(picture[:4]) == "RIFF" && string(picture[8:12]) == "WEBP":
		exif = exifOfWebP(picture[12:])
	}
	return orientationOfTIFF(exif)
}

var exifMarker = []byte("Exif\x00\x00")

// exifOfJPEG walks the segments before the picture's data: FF, a marker, a
// length of two bytes that counts itself.
func exifOfJPEG(b []byte) []byte {
	const app1, startOfScan = 0xe1, 0xda
	for len(b) >= 4 && b[0] == 0xff {
		if b[1] == 0xff { // a fill byte
			b = b[1:]
			continue
		}
		length := int(binary.BigEndian.Uint16(b[2:]))
		if b[1] == startOfScan || length < 2 || len(b) < 2+length {
			return nil
		}
		if segment := b[4 : 2+length]; b[1] == app1 && bytes.HasPrefix(segment, exifMarker) {
			return segment[len(exifMarker):]
		}
		b = b[2+length:]
	}
	return nil
}

// exifOfPNG walks the chunks: a length, a name, the data, a checksum.
func exifOfPNG(b []byte) []byte {
	for len(b) >= 12 {
		length, name := uint64(binary.BigEndian.Uint32(b)), string(b[4:8])
		if name == "IEND" || uint64(len(b)) < 12+length {
			return nil
		}
		if name == "eXIf" {
			return b[8 : 8+length]
		}
		b = b[12+length:]
	}
	return nil
}

// exifOfWebP walks the chunks: a name, a length, the data, a byte of padding
// where the length is odd.
func exifOfWebP(b []byte) []byte {
	for len(b) >= 8 {
		name, length := string(b[:4]), uint64(binary.LittleEndian.Uint32(b[4:]))
		if uint64(len(b)) < 8+length {
			return nil
		}
		if name == "EXIF" {
			return bytes.TrimPrefix(b[8:8+length], exifMarker)
		}
		b = b[min(8+length+length%2, uint64(len(b))):]
	}
	return nil
}

// orientationOfTIFF reads the tag 0x0112 of the first directory.
func orientationOfTIFF(b []byte) Orientation {
	const headerSize, entrySize, tagOrientation, typeShort = 8, 12, 0x0112, 3
	if len(b) < headerSize {
		return Upright
	}
	var order binary.ByteOrder
	switch string(b[:4]) {
	case "II*\x00":
		order = binary.LittleEndian
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return Upright
	}
	at := uint64(order.Uint32(b[4:]))
	if at+2 > uint64(len(b)) {
		return Upright
	}
	entries := b[at+2:]
	for range order.Uint16(b[at:]) {
		if len(entries) < entrySize {
			return Upright
		}
		if order.Uint16(entries) == tagOrientation {
			value := order.Uint16(entries[8:])
			if order.Uint16(entries[2:]) != typeShort || value < 1 || value > 8 {
				return Upright
			}
			return Orientation(value)
		}
		entries = entries[entrySize:]
	}
	return Upright
}
