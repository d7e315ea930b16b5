package e2e

// fileFixtures make the faults of doctor's file checks.
var fileFixtures = []doctorFixture{}
