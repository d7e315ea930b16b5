package doctor

var kernelChecks = []Check{masqueradedTwice, icmpDropped}
