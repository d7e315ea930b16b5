// Package store keeps the record of each attachment on disk, below
// <stateDir>/attachments: what the plugin wired, for the DEL that comes without
// any argument, for the daemon, and for people.
//
// A record is written before anything is done for its attachment (the intent) and
// removed when nothing is left of it, so whoever dies between leaves a record that
// says what to look for. Writing is atomic: a reader sees the old record or the
// new one. Nothing is synced to the disk: a record describes links and rules,
// which do not outlive the kernel's memory either.
//
// To look at them: they are JSON, one file each, readable by root.
package store
