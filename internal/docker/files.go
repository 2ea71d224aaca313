package docker

import (
	"archive/tar"
	"bytes"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// folderMode is the mode of the data folder and of folders made for files. What
// lies there is the server's own business.
const folderMode = 0o700

// archiveOf gives the workload's files as a tar to be unpacked in its data folder: the
// folders above each file, and the files, all owned by the workload's user. The data
// folder itself stays as it is.
func archiveOf(w host.Workload) ([]byte, error) {
	return archive(w.User, path.Clean(w.DataPath), "", w.Files)
}

// archiveFor gives the same to be unpacked at the root of a container that has the data
// folder somewhere else, with that folder itself.
func archiveFor(w host.Workload, folder string) ([]byte, error) {
	return archive(w.User, path.Clean(w.DataPath), strings.TrimPrefix(folder, "/")+"/", w.Files)
}

// archive gives the files below root as a tar, under names that begin so. An engine takes
// no name that leads out of where it unpacks; where the beginning is the folder's own
// name, the folder is in the archive, too.
func archive(user, root, begin string, files []host.File) ([]byte, error) {
	uid, gid, err := userOf(user)
	if err != nil {
		return nil, err
	}
	var buffer bytes.Buffer
	out := tar.NewWriter(&buffer)
	put := func(h tar.Header, content string) error {
		h.Uid, h.Gid, h.Size = uid, gid, int64(len(content))
		h.Format = tar.FormatPAX
		if err := out.WriteHeader(&h); err != nil {
			return fmt.Errorf("pack %s: %w", h.Name, err)
		}
		if _, err := out.Write([]byte(content)); err != nil {
			return fmt.Errorf("pack %s: %w", h.Name, err)
		}
		return nil
	}

	if begin != "" {
		if err := put(tar.Header{Typeflag: tar.TypeDir, Name: begin, Mode: folderMode}, ""); err != nil {
			return nil, err
		}
	}
	names, err := relativePaths(files, root)
	if err != nil {
		return nil, err
	}
	for _, folder := range foldersOf(names) {
		if err := put(tar.Header{Typeflag: tar.TypeDir, Name: begin + folder + "/", Mode: folderMode}, ""); err != nil {
			return nil, err
		}
	}
	for i, name := range names {
		header := tar.Header{Typeflag: tar.TypeReg, Name: begin + name, Mode: int64(files[i].Mode & 0o777)}
		if err := put(header, files[i].Content.Reveal()); err != nil {
			return nil, err
		}
	}
	if err := out.Close(); err != nil {
		return nil, fmt.Errorf("pack files: %w", err)
	}
	return buffer.Bytes(), nil
}

// relativePaths gives the paths of the files from the data folder on.
func relativePaths(files []host.File, root string) ([]string, error) {
	names := make([]string, 0, len(files))
	for _, f := range files {
		name, below := strings.CutPrefix(path.Clean(f.Path), root+"/")
		if !below {
			return nil, fault.Errorf(fault.CodeInternal, nil, "file %s is not below %s", f.Path, root)
		}
		names = append(names, name)
	}
	return names, nil
}

// foldersOf gives every folder above the files, outer ones first, each once.
func foldersOf(names []string) []string {
	var folders []string
	for _, name := range names {
		for folder := path.Dir(name); folder != "."; folder = path.Dir(folder) {
			folders = append(folders, folder)
		}
	}
	slices.Sort(folders)
	return slices.Compact(folders)
}

// userOf reads "uid:gid".
func userOf(user string) (uid, gid int, err error) {
	left, right, ok := strings.Cut(user, ":")
	uid, err1 := strconv.Atoi(left)
	gid, err2 := strconv.Atoi(right)
	if !ok || err1 != nil || err2 != nil || uid < 0 || gid < 0 {
		return 0, 0, fault.Errorf(fault.CodeInternal, nil, `user %q is not "uid:gid" in numbers`, user)
	}
	return uid, gid, nil
}
