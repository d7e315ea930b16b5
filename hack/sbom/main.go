// Command sbom prints the software bill of materials of programs written in Go, as
// CycloneDX:
//
//	SOURCE_DATE_EPOCH=0 sbom [-name NAME] [-type TYPE] VERSION PROGRAM...
//
// NAME and TYPE describe the product that the programs belong to: by default the container
// masq-cni. TYPE is a component type of CycloneDX.
//
// The modules are read from the build information in the programs, so the SBOM has the linked
// modules and not all modules of go.mod. Its bytes depend only on the programs and the arguments.
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
		return fmt.Errorf("SOURCE_DATE_EPOCH is %q; give the time of the commit in seconds since 1970", epoch)
	}
	b, err := billOf(args[0], args[1:], time.Unix(seconds, 0).UTC())
	if err != nil {
		return err
	}
	b.Metadata.Component.Name, b.Metadata.Component.Type = *name, cyclonedx.ComponentType(*kind)
	// Most tools can read version 1.6.
	return cyclonedx.NewBOMEncoder(w, cyclonedx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(b, cyclonedx.SpecVersion1_6)
}

// productRef is the reference of the product. No program has that name.
const productRef = "all"

// bill collects the programs and their modules by reference.
type bill struct {
	programs, modules map[string]cyclonedx.Component
	dependencies      map[string][]string
}

func billOf(version string, paths []string, made time.Time) (*cyclonedx.BOM, error) {
	b := bill{map[string]cyclonedx.Component{}, map[string]cyclonedx.Component{}, map[string][]string{}}
	for _, path := range paths {
		ref, err := b.program(version, path)
		if err != nil {
			return nil, err
		}
		b.dependencies[productRef] = append(b.dependencies[productRef], ref)
	}
	var all []cyclonedx.Component
	for _, of := range []map[string]cyclonedx.Component{b.programs, b.modules} {
		for _, ref := range slices.Sorted(maps.Keys(of)) {
			all = append(all, of[ref])
		}
	}
	var dependencies []cyclonedx.Dependency
	for _, ref := range slices.Sorted(maps.Keys(b.dependencies)) {
		on := slices.Sorted(slices.Values(b.dependencies[ref]))
		dependencies = append(dependencies, cyclonedx.Dependency{Ref: ref, Dependencies: &on})
	}
	out := cyclonedx.NewBOM()
	out.Metadata = &cyclonedx.Metadata{
		Timestamp: made.Format(time.RFC3339),
		Component: &cyclonedx.Component{
			BOMRef: productRef, Version: version,
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
		// The build settings determine the bytes of the program.
		Properties: settings(info),
	}
	b.dependencies[name] = append(b.dependencies[name], b.module("std", strings.TrimPrefix(info.GoVersion, "go")))
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		b.dependencies[name] = append(b.dependencies[name], b.module(m.Path, m.Version))
	}
	return name, nil
}

func (b *bill) module(path, version string) (ref string) {
	// A purl must escape the + of a version.
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
