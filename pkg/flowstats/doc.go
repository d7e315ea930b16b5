// Package flowstats samples the node's conntrack table for metrics and for readiness.
//
// A Sampler reads the size of the table and the kernel's statistics for each request. A
// dump of all flows takes longer, so it runs in the background: a request returns the last
// Sample, and starts the next one after a pause. Without requests there are no dumps, and
// dumps take at most a hundredth of a core.
//
// A container chooses the destinations, states and protocols of its flows. Samples therefore
// have a bounded number of rows. One attachment or tenant cannot fill all of them while
// others have flows.
//
// To debug: `conntrack -L`, `conntrack -S`, and `masq-cni inspect ports`. The metrics
// masq_flows_sample_timestamp_seconds and masq_flows_sample_duration_seconds describe the
// last sample.
package flowstats
