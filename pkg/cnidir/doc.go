// Package cnidir writes to the two directories of CNI: it installs the plugin masq into the
// directory of plugins, and its entry into the configuration of the network.
//
// Other programs write to these directories too, and runtimes read them at any time.
// Therefore:
//
//   - A file is replaced by a rename, from a hidden file in the same directory that was
//     synced before. A reader sees the old file or the new file, even if the install is
//     killed.
//   - An install locks the directory itself (flock(2)), which leaves no lock file. The next
//     install removes temporary files of a killed install.
//   - An entry is inserted into the text of a list. The rest of the text stays the same, to
//     the byte, so that the entry can be removed again. Before the new text replaces the old
//     text, it is read as libcni reads it.
//   - A file with a single plugin (.conf, .json) has no place for an entry. The file
//     is kept, and a list is made from it that comes first in the order of names:
//     10-pods-masq.conflist for 10-pods.conf. The key "masq-cni.dev/made-from" marks such a
//     list; runtimes ignore the key.
//
// A runtime uses the first file in the order of names that can be read: containerd (go-cni)
// and CRI-O (ocicni) do so. But containerd stops at a file that cannot be read.
//
// The package does not watch the directories, and does not restart a runtime. To debug, run
// masq-cni install without --watch: it prints what it finds and changes.
package cnidir
