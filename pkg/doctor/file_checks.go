package doctor

// fileChecks find faults of the plugin's program and of the configurations of networks.
var fileChecks = []Check{
	pluginMissing,
	pluginNotExecutable,
	pluginArchitecture,
	pluginOlder,
	conflistInvalid,
	conflistOrder,
	conflistShadowed,
	conflistWithoutMasq,
}
