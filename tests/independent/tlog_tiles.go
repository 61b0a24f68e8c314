// Checks an exported log with another implementation than the gateway's: golang.org/x/mod/sumdb, which
// the Go checksum database runs on. It shares no code, no language and no author with the gateway.
//
//	tlog_tiles DIRECTORY VERIFIER-KEY    prints size, root and the number of entries that were checked
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	height = 8
	width  = 1 << height
)

// directory serves tiles under the names of C2SP tlog-tiles, which leave out the height.
type directory string

func (d directory) Height() int { return height }

func (d directory) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range tiles {
		name := "tile/" + strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", height))
		data, err := os.ReadFile(filepath.Join(string(d), name))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

func (d directory) SaveTiles([]tlog.Tile, [][]byte) {}

func main() {
	if err := check(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check(root, vkey string) error {
	tree, err := openCheckpoint(root, vkey)
	if err != nil {
		return err
	}
	// Every tile that is read is proven against the root of the checkpoint before it is used.
	hashes := tlog.TileHashReader(tree, directory(root))
	whole, err := tlog.TreeHash(tree.N, hashes)
	if err != nil {
		return err
	}
	if whole != tree.Hash {
		return fmt.Errorf("the tiles give the root %v, the checkpoint says %v", whole, tree.Hash)
	}
	checked, err := checkEntries(root, tree, hashes)
	if err != nil {
		return err
	}
	fmt.Println(tree.N, tree.Hash, checked)
	return nil
}

func openCheckpoint(root, vkey string) (tlog.Tree, error) {
	data, err := os.ReadFile(filepath.Join(root, "checkpoint"))
	if err != nil {
		return tlog.Tree{}, err
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(data, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("not a checkpoint of %s", verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	hash, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(hash) != tlog.HashSize {
		return tlog.Tree{}, fmt.Errorf("the root is not a hash")
	}
	tree := tlog.Tree{N: size}
	copy(tree.Hash[:], hash)
	return tree, nil
}

func checkEntries(root string, tree tlog.Tree, hashes tlog.HashReader) (int64, error) {
	var checked int64
	for number := int64(0); number*width < tree.N; number++ {
		count := tree.N - number*width
		if count > width {
			count = width
		}
		tile := tlog.Tile{H: height, L: -1, N: number, W: int(count)}
		name := "tile/entries/" + strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/data/", height))
		bundle, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) && os.Getenv("PRUNED") != "" && checked == 0 {
			continue
		}
		if err != nil {
			return checked, err
		}
		for i := int64(0); i < count; i++ {
			if len(bundle) < 2 {
				return checked, fmt.Errorf("%s: too few entries", name)
			}
			length := int(binary.BigEndian.Uint16(bundle))
			if len(bundle) < 2+length {
				return checked, fmt.Errorf("%s: an entry runs out of it", name)
			}
			entry := bundle[2 : 2+length]
			bundle = bundle[2+length:]
			index := number*width + i
			stored, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
			if err != nil {
				return checked, err
			}
			if stored[0] != tlog.RecordHash(entry) {
				return checked, fmt.Errorf("entry %d is not the one whose hash is in the tree", index)
			}
			checked++
		}
		if len(bundle) != 0 {
			return checked, fmt.Errorf("%s: bytes after the last entry", name)
		}
	}
	return checked, nil
}
