// Package metrics exports the state of masqd to Prometheus. Each metric is one line in this
// package: its name, its description, and the expression that reads its value. A search
// for a name without "masq_" finds the line.
//
// Values are read when Prometheus scrapes. This package counts nothing, with one exception:
// dropCounter adds up the counters of rules, which restart at 0 when a rule is recreated.
//
// The number of series of a scrape is limited to MaxSeries, because containers choose some
// of the label values.
//
// To debug: `curl -s http://127.0.0.1:9468/metrics | grep ^masq_`.
package metrics
