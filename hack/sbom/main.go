// Command sbom prints the software bill of materials of programs written in Go, as
// CycloneDX:
//
//	SOURCE_DATE_EPOCH=0 sbom [-name NAME] [-type TYPE] VERSION PROGRAM...
//
// NAME and TYPE are those of what the programs make up, by default the container
// masq-cni; TYPE is one that CycloneDX has.
//
// It is read from what the linker left in the programs, so it says what is in them and
// not what go.mod allows; the same programs give the same bytes.
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
)

func main() {
	if err := run(os.Args[1:], os.Getenv("SOURCE_DATE_EPOCH"), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(args []string, epoch string, w io.Writer) error {
	flags := flag.NewFlagSet("sbom", flag.ContinueOnError)
	name := flags.String("name", "masq-cni", "")
	kind := flags.String("type", string(cyclonedx.ComponentTypeContainer), "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	args = flags.Args()
	if len(args) < 2 {
		return errors.New("no program given; give VERSION and one PROGRAM or more")
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH is %q; give the seconds since 1970 that the commit was made", epoch)
	}
	b, err := billOf(args[0], args[1:], time.Unix(seconds, 0).UTC())
	if err != nil {
		return err
	}
	b.Metadata.Component.Name, b.Metadata.Component.Type = *name, cyclonedx.ComponentType(*kind)
	// Most tools that read these know 1.6.
	return cyclonedx.NewBOMEncoder(w, cyclonedx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(b, cyclonedx.SpecVersion1_6)
}

// whole is the reference of all of it. No program has that name.
const whole = "all"

// bill collects what programs are made of.
type bill struct {
	programs, modules map[string]cyclonedx.Component // by reference
	needs             map[string][]string
}

func billOf(version string, paths []string, made time.Time) (*cyclonedx.BOM, error) {
	b := bill{map[string]cyclonedx.Component{}, map[string]cyclonedx.Component{}, map[string][]string{}}
	for _, path := range paths {
		ref, err := b.program(version, path)
		if err != nil {
			return nil, err
		}
		b.needs[whole] = append(b.needs[whole], ref)
	}
	var all []cyclonedx.Component
	for _, of := range []map[string]cyclonedx.Component{b.programs, b.modules} {
		for _, ref := range slices.Sorted(maps.Keys(of)) {
			all = append(all, of[ref])
		}
	}
	var dependencies []cyclonedx.Dependency
	for _, ref := range slices.Sorted(maps.Keys(b.needs)) {
		on := slices.Sorted(slices.Values(b.needs[ref]))
		dependencies = append(dependencies, cyclonedx.Dependency{Ref: ref, Dependencies: &on})
	}
	out := cyclonedx.NewBOM()
	out.Metadata = &cyclonedx.Metadata{
		Timestamp: made.Format(time.RFC3339),
		Component: &cyclonedx.Component{
			BOMRef: whole, Version: version,
			Licenses: &cyclonedx.Licenses{{License: &cyclonedx.License{ID: "Apache-2.0"}}},
		},
	}
	out.Components, out.Dependencies = &all, &dependencies
	return out, nil
}

func (b *bill) program(version, path string) (ref string, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(content)
	name := filepath.Base(path)
	b.programs[name] = cyclonedx.Component{
		BOMRef: name, Type: cyclonedx.ComponentTypeApplication, Name: name, Version: version,
		Hashes: &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}},
		// What it was built with decides over its bytes.
		Properties: settings(info),
	}
	b.needs[name] = append(b.needs[name], b.module("std", strings.TrimPrefix(info.GoVersion, "go")))
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		b.needs[name] = append(b.needs[name], b.module(m.Path, m.Version))
	}
	return name, nil
}

func (b *bill) module(path, version string) (ref string) {
	// A + stands for itself in a purl only when it is escaped.
	ref = "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
	b.modules[ref] = cyclonedx.Component{BOMRef: ref, Type: cyclonedx.ComponentTypeLibrary, Name: path, Version: version, PackageURL: ref}
	return ref
}

func settings(info *debug.BuildInfo) *[]cyclonedx.Property {
	var out []cyclonedx.Property
	for _, s := range info.Settings {
		out = append(out, cyclonedx.Property{Name: "go:" + s.Key, Value: s.Value})
	}
	return &out
}
