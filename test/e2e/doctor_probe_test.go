package e2e

// probeFixtures make the faults of doctor's probe checks.
var probeFixtures = []doctorFixture{}
