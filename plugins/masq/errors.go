package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/containernetworking/cni/pkg/types"
)

// Codes of this plugin's own; CNI leaves those from 100 on to plugins. They are
// listed in docs/configuration.md.
const (
	codeLink  = 100 // the link could not be made, changed or removed
	codeRules = 101 // the rules could not be made, read or removed
	codeState = 102 // the records on disk could not be read or written
	codeIPAM  = 103 // the addresses could not be leased or released
	codeCheck = 104 // something is not as ADD left it

	codeAddress = 105 // an address is that of another live container
)

// Codes of CNI that the library has no names for.
const (
	codeUnavailable        = 50 // ADD would fail
	codeUnavailableLimited = 51 // and containers that are there may have no network
)

// warn tells the runtime's log, which has what a plugin writes to stderr.
func warn(format string, args ...any) {
	_, _ = fmt.Fprintf(os.Stderr, "masq: "+format+"\n", args...)
}

// failed makes an error of CNI of err, unless it is one already.
func failed(code uint, msg string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*types.Error](err); ok {
		return err
	}
	return types.NewError(code, msg, err.Error())
}
