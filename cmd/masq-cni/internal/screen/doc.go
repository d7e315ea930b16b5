// Package screen shows the result of a command: once, or with --watch repeatedly on the whole
// terminal.
//
// Keys sort, filter and scroll the rows. The calling goroutine reads the source, since its
// thread may be in another network namespace than the process; bubbletea draws in another
// goroutine. A reading keeps at most maxRows rows, so memory is bounded.
package screen
