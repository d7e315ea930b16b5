package e2e

// socketFixtures make the faults of doctor's socket checks.
var socketFixtures = []doctorFixture{}
