package fire

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// MaxImageBytes is the most that one picture may hold: what the service takes.
	MaxImageBytes = 10 << 20
	// MaxFolderBytes is the most that all pictures may hold together: they are kept in memory.
	MaxFolderBytes = 512 << 20
)

var contentTypes = map[string]string{
	".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png",
	".webp": "image/webp", ".gif": "image/gif", ".bmp": "image/bmp",
}

const wantedImages = "allowed are .jpg, .jpeg, .png, .webp, .gif and .bmp files"

// Image is one picture as it is sent.
type Image struct {
	// Name is the file's name without its folder.
	Name string
	// ContentType is the media type, told from the name.
	ContentType string
	// Bytes is the file's content.
	Bytes []byte
}

// LoadImages reads the picture at path, or every picture in the folder at
// path, sorted by name. Folders inside it and other files are passed over.
func LoadImages(path string) ([]Image, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	if !info.IsDir() {
		image, err := loadImage(path)
		if err != nil {
			return nil, err
		}
		return []Image{image}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	var images []Image
	total := 0
	for _, entry := range entries {
		if entry.IsDir() || contentType(entry.Name()) == "" {
			continue
		}
		image, err := loadImage(filepath.Join(path, entry.Name()))
		if err != nil {
			return nil, err
		}
		if total += len(image.Bytes); total > MaxFolderBytes {
			return nil, fmt.Errorf("images %s: more than %d MiB of pictures; allowed is at most that, they are kept in memory", path, MaxFolderBytes>>20)
		}
		images = append(images, image)
	}
	if len(images) == 0 {
		return nil, fmt.Errorf("images %s: no picture in this folder; %s", path, wantedImages)
	}
	slices.SortFunc(images, func(a, b Image) int { return strings.Compare(a.Name, b.Name) })
	return images, nil
}

func contentType(name string) string {
	return contentTypes[strings.ToLower(filepath.Ext(name))]
}

func loadImage(path string) (Image, error) {
	kind := contentType(path)
	if kind == "" {
		return Image{}, fmt.Errorf("images %s: not a picture by its name; %s", path, wantedImages)
	}
	info, err := os.Stat(path)
	if err != nil {
		return Image{}, fmt.Errorf("images: %w", err)
	}
	if info.Size() == 0 || info.Size() > MaxImageBytes {
		return Image{}, fmt.Errorf("images %s: %d bytes; allowed are 1 to %d", path, info.Size(), MaxImageBytes)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return Image{}, fmt.Errorf("images: %w", err)
	}
	return Image{Name: filepath.Base(path), ContentType: kind, Bytes: content}, nil
}
