// Package screen shows the result of a command once, or with --watch again and again on
// the whole terminal.
//
// Keys sort, filter and scroll the rows. The package reads its source in the goroutine
// that calls it, since that may be in a network namespace of its own; bubbletea draws in
// another goroutine. A reading keeps a bounded number of rows, however many there are.
package screen
