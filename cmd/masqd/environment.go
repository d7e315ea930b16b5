package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// envPrefix begins the variables that set flags.
const envPrefix = "MASQD_"

// serviceVariable matches the variables that the kubelet sets for a Service with the name
// masqd or, for example, masqd-metrics (pkg/kubelet/envvars/envvars.go of Kubernetes).
var serviceVariable = regexp.MustCompile(`^\w+(_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?)=|^\w+_PORT=\w+://`)

// fromEnvironment sets the flags that are not on the command line from variables of their
// names. A variable with the prefix and without a flag is an error.
func fromEnvironment(flags *pflag.FlagSet, env []string) error {
	// Names of ip-masq-agent's flags have hyphens or underscores, names of variables only
	// underscores.
	byVariable := map[string]*pflag.Flag{}
	underscores := strings.NewReplacer("-", "_", ".", "_")
	flags.VisitAll(func(f *pflag.Flag) {
		byVariable[envPrefix+strings.ToUpper(underscores.Replace(f.Name))] = f
	})
	var errs []error
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, envPrefix) {
			continue
		}
		f := byVariable[strings.ToUpper(name)]
		switch {
		case f == nil && serviceVariable.MatchString(pair):
		case f == nil:
			errs = append(errs, fmt.Errorf("%s: masqd has no such flag; unset the variable, or see masqd --help for the flags", name))
		case f.Changed:
		default:
			if err := flags.Set(f.Name, value); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		}
	}
	return errors.Join(errs...)
}

var longFlagWithOneHyphen = regexp.MustCompile(`^-[a-z][a-z0-9_-]+(=|$)`)

// twoHyphens adds a hyphen to long flags that have one: ip-masq-agent accepts both.
func twoHyphens(args []string) []string {
	out := slices.Clone(args)
	for i, a := range out {
		if a == "--" {
			break
		}
		if longFlagWithOneHyphen.MatchString(a) {
			out[i] = "-" + a
		}
	}
	return out
}
