package e2e

// stateFixtures make the faults of doctor's state checks.
var stateFixtures = []doctorFixture{}
