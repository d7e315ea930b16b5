package doctor

var socketChecks = []Check{
	dnsUnanswered,
}
