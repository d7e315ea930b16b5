// Package cnidir puts masq where container runtimes look for it: the plugin into the
// directory of plugins, and its entry into the configuration of the network.
//
// Neither directory is ours. Other programs write there, and runtimes read at any
// moment, so:
//
//   - A file is replaced by rename, from a hidden one in the same directory that was
//     synced before. A reader sees the old file or the new one, whatever is killed.
//   - Installs take turns by a flock(2) on the directory itself, which leaves no file
//     and ends with its holder. Whoever has it removes what one that was killed left.
//   - An entry is put into the text of a list, not into a list that is written anew:
//     what others wrote stays as it is, to the byte, and so it can be taken out again.
//     The result is read as libcni reads it before it takes the old one's place.
//   - A file with a single plugin (.conf, .json) cannot have an entry. It is left
//     alone, and a list that is made from it stands before it: 10-pods-masq.conflist
//     for 10-pods.conf. Lists that are made here say so under the key
//     "masq-cni.dev/made-from", which runtimes do not look at.
//
// Which file a runtime uses: the first by name, of those that can be read. So do
// containerd (go-cni) and CRI-O (ocicni); but containerd gives up at one that cannot.
//
// To see what an install finds and does, run masq-cni install without --watch.
package cnidir
