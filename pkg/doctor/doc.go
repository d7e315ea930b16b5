// Package doctor finds the causes of faults of a node and of its containers' connections.
//
// Each Check reads one part of the node and returns findings: what is wrong with which object,
// the values that show it and where they were read, why it matters, and the remedy. All returns
// the checks in the order in which causes precede their consequences. Run runs them and sorts
// the findings: the worst first, and among equals the check that comes first in All.
//
// A check that cannot read what it needs returns an error: the report says "not checked" with
// that reason. A check that does not apply returns no finding and no error.
//
// # Facts
//
// Checks read the node through Node, whose methods read each part once, however many checks
// ask for it. A check changes nothing, sends nothing, and takes milliseconds; those with the
// cost Probe evaluate the packets that a probe has sent.
//
// # To add a check
//
// Write a file check_NAME.go with a variable of type Check, list it in checks.go, and add a
// fixture to test/e2e that makes the fault. TestDoctorChecks fails for a check without one.
// `make docs` adds the check to docs/doctor.md.
package doctor
