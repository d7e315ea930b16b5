package doctor

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/report"
)

var pluginArchitecture = Check{
	ID:       "plugin-architecture",
	Title:    "The plugin is not a program of this machine",
	Severity: report.SeverityError,
	Reads:    "the ELF header of the plugin",
	Applies:  "nodes that need the plugin and have it",
	Remedy:   "Run `masq-cni install --force` with the plugin of this architecture.",
	Cost:     Full,
	Run: func(_ context.Context, n *Node) ([]Finding, error) {
		p, err := n.installed()
		if p == nil || err != nil {
			return nil, err
		}
		head, err := readHead(p.path)
		if err != nil {
			return nil, err
		}
		value, wrong := foreignProgram(head, runtime.GOARCH)
		if wrong == "" {
			return nil, nil
		}
		return []Finding{{
			Severity: report.SeverityError, Object: "plugin " + p.path, Message: wrong,
			Evidence: []Evidence{{"header of " + p.path, value}, {"architecture of masq-cni", runtime.GOARCH}},
			Why:      whyNoPlugin,
			Remedy:   Remedy{Text: "Install the plugin that belongs to this masq-cni.", Commands: []string{p.installCommand() + " --force"}},
		}}, nil
	},
}

// headSize is enough for the header of a 64-bit ELF file.
const headSize = 64

func readHead(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, headSize)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return head[:n], nil
}

// machines are the machines whose programs run on an architecture: 64-bit x86 and ARM also
// run 32-bit programs.
var machines = map[string][]elf.Machine{
	"386": {elf.EM_386}, "amd64": {elf.EM_X86_64, elf.EM_386}, "arm": {elf.EM_ARM}, "arm64": {elf.EM_AARCH64, elf.EM_ARM},
	"loong64": {elf.EM_LOONGARCH}, "mips64le": {elf.EM_MIPS}, "ppc64le": {elf.EM_PPC64}, "riscv64": {elf.EM_RISCV}, "s390x": {elf.EM_S390},
}

// foreignProgram says what is wrong with a program that begins with head, on an architecture
// of Go, and returns the value that shows it. wrong is empty for a program that may run.
func foreignProgram(head []byte, arch string) (value, wrong string) {
	known := machines[arch]
	switch {
	case len(head) == 0:
		return "empty", "is an empty file"
	case bytes.HasPrefix(head, []byte("#!")) || known == nil:
		return "", ""
	case !bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		return hex.EncodeToString(head[:min(4, len(head))]), "is neither an ELF file nor a script"
	case len(head) < headSize:
		return fmt.Sprintf("%d bytes", len(head)), "ends within its ELF header"
	}
	// e_machine has this offset in 32-bit and 64-bit files (elf(5)).
	a, b := uint16(head[18]), uint16(head[19])
	machine := elf.Machine(b<<8 | a)
	if elf.Data(head[elf.EI_DATA]) == elf.ELFDATA2MSB {
		machine = elf.Machine(a<<8 | b)
	}
	if slices.Contains(known, machine) {
		return "", ""
	}
	return "e_machine " + machine.String(), "was built for another architecture, " + machine.String()
}
