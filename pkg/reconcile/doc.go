// Package reconcile keeps the kernel in agreement with the records.
//
// It is level-triggered: whatever happens only says "look again". A look reads the
// records, turns them into the ruleset that is wanted, has it compared with the
// kernel's, and one transaction is written, or nothing. What set off a look says
// nothing about what it finds, so an event that is lost costs time and no more: a
// slow resync looks without being asked.
//
// To debug: each repair is one line of log that names what was found; the counters
// of Stats say how many looks there were and why.
package reconcile
