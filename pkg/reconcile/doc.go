// Package reconcile keeps the kernel in agreement with the records.
//
// Each transaction of the kernel's ruleset is explained by the records, or becomes
// work: elements to judge, or the structure of the table to compare. Each difference is
// judged by the current state of the kernel and the records, not by the event that
// reported it, so events may come late or together. A gap in the generations shows that
// transactions are missing, and the whole table is compared.
//
// To debug: each repair is one line of log that names the difference. The counters of
// Stats say how many syncs there were and why, and how many compared the whole table.
package reconcile
