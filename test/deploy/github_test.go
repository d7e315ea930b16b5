package deploy

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/masq-cni/masq-cni/test/assert"
)

// form is an issue form, as GitHub documents it. Other keys are an error.
type form struct {
	Name        string
	Description string
	Labels      []string
	Body        []formElement
}

type formElement struct {
	Type       string
	ID         string
	Attributes struct {
		Label       string
		Description string
		Placeholder string
		Value       string
		Render      string
	}
	Validations struct{ Required bool }
}

// GitHub accepts each issue form. It would omit an invalid form without a message.
func TestIssueForms(t *testing.T) {
	files := assert.Must(filepath.Glob(root + "/.github/ISSUE_TEMPLATE/*.yml"))(t)
	forms := map[string]form{}
	for _, file := range files {
		if name := filepath.Base(file); name != "config.yml" {
			forms[name] = formOf(t, file)
		}
	}
	if len(forms) == 0 {
		t.Fatal(".github has no issue forms")
	}

	// The bug form asks for the information that a maintainer needs first, by commands that
	// exist.
	asked := map[string]string{}
	for _, e := range forms["bug.yml"].Body {
		if e.Validations.Required {
			asked[e.ID] = e.Attributes.Label + e.Attributes.Description + e.Attributes.Value
		}
	}
	for id, command := range map[string]string{"inspect": "masq-cni inspect -o json", "versions": "masq-cni version"} {
		if !strings.Contains(asked[id], command) {
			t.Errorf("bug.yml requires no answer %s with the output of %s", id, command)
		}
		if flags := helpOf(t, "masq-cni", strings.Fields(command)[1:]); strings.HasSuffix(command, " -o json") && !slices.Contains(flags, "--output") {
			t.Errorf("%s is no command: it has the flags %v", command, flags)
		}
	}

	var config struct {
		Blank bool                                `yaml:"blank_issues_enabled"`
		Links []struct{ Name, URL, About string } `yaml:"contact_links"`
	}
	decode(t, root+"/.github/ISSUE_TEMPLATE/config.yml", &config)
	for _, link := range config.Links {
		if link.Name == "" || link.About == "" || !strings.HasPrefix(link.URL, "https://") {
			t.Errorf("config.yml: a link needs name, url and about: %+v", link)
		}
		if page, ok := strings.CutPrefix(link.URL, "https://github.com/masq-cni/masq-cni/blob/main/"); ok {
			read(t, page)
		}
	}
}

// formOf reads a form and validates it as GitHub does.
func formOf(t *testing.T, file string) form {
	t.Helper()
	var f form
	decode(t, file, &f)
	name := filepath.Base(file)
	if f.Name == "" || f.Description == "" {
		t.Errorf("%s needs name and description", name)
	}
	var ids []string
	for _, e := range f.Body {
		switch {
		case e.Type == "markdown" && e.Attributes.Value != "" && e.ID == "":
		case slices.Contains([]string{"input", "textarea"}, e.Type) && e.Attributes.Label != "" && regexp.MustCompile(`^[\w-]+$`).MatchString(e.ID):
			ids = append(ids, e.ID)
		default:
			t.Errorf("%s: GitHub takes no element %+v", name, e)
		}
	}
	if slices.Sort(ids); len(ids) == 0 || len(slices.Compact(slices.Clone(ids))) != len(ids) {
		t.Errorf("%s needs elements to fill in, with unique ids: %v", name, ids)
	}
	return f
}

// decode reads a YAML file strictly: unknown keys are an error.
func decode(t *testing.T, file string, into any) {
	t.Helper()
	d := yaml.NewDecoder(bytes.NewReader(assert.Must(os.ReadFile(file))(t)))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}
