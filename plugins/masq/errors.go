package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/containernetworking/cni/pkg/types"
)

// Codes of this plugin, from 100 as CNI defines. docs/configuration.md lists them.
const (
	codeLink  = 100 // the link could not be made, changed or removed
	codeRules = 101 // the rules could not be made, read or removed
	codeState = 102 // the records on disk could not be read or written
	codeIPAM  = 103 // the addresses could not be leased or released
	codeCheck = 104 // the attachment differs from what ADD made

	codeAddress = 105 // another live container has an address
)

// Codes of CNI without a name in the library.
const (
	codeUnavailable        = 50 // ADD would fail
	codeUnavailableLimited = 51 // ADD would fail, and existing containers may have no network
)

// warn writes to stderr, which is copied to the runtime's log.
func warn(format string, args ...any) {
	_, _ = fmt.Fprintf(os.Stderr, "masq: "+format+"\n", args...)
}

// failed returns err as a CNI error with this code, unless it already is a CNI error.
func failed(code uint, msg string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*types.Error](err); ok {
		return err
	}
	return types.NewError(code, msg, err.Error())
}
