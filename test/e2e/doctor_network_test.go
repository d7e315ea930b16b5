package e2e

// networkFixtures make the faults of doctor's network checks.
var networkFixtures = []doctorFixture{}
