package e2e

// kernelFixtures make the faults of doctor's kernel checks.
var kernelFixtures = []doctorFixture{}
