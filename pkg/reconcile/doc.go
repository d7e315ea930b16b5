// Package reconcile keeps the kernel in agreement with the records.
//
// Each transaction of the kernel's ruleset is explained by the records, or becomes work:
// elements to judge, or the structure of the table to compare. What it finds is judged by
// the kernel and the records as they are then, not by what an event said, so events may
// come late or together. Transactions that are missing show by their generation, and have
// the whole table compared.
//
// To debug: each repair is one line of log that names what was found; the counters of
// Stats say how many syncs there were and why, and how many compared the whole table.
package reconcile
