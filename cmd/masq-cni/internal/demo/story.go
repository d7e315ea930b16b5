// Package demo is the command masq-cni demo. It makes a lab of network namespaces, and runs
// steps in it: each step shows what the server receives without a feature of masq-cni, or
// with it.
package demo

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// options of a run.
type options struct {
	plugin  string     // path of the binary
	keep    bool       // keep the lab
	observe func(Step) // called after each step; may be nil
}

// Story is the result of a run, as -o json has it.
type Story struct {
	Steps   []Step  `json:"steps"`
	Ruleset string  `json:"ruleset"` // the kernel had it during the last steps
	OK      bool    `json:"ok"`
	Seconds float64 `json:"seconds"`
	// Enter has the commands that enter the namespaces of a lab that was kept, by name.
	Enter map[string]string `json:"enter,omitempty"`
	// Inspect is the command that inspects the node of a lab that was kept.
	Inspect string `json:"inspect,omitempty"`
}

// Step is the result of a step.
type Step struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	// Text has sentences for a person.
	Text []string `json:"text"`
	// Figures are what the server received, unless the name tells otherwise. Durations are
	// in seconds, sizes in bytes.
	Figures map[string]any `json:"figures"`
	OK      bool           `json:"ok"`
	// Problem describes unexpected results, empty if there are none.
	Problem string  `json:"problem,omitempty"`
	Seconds float64 `json:"seconds"`
}

func (s *Step) say(format string, args ...any) { s.Text = append(s.Text, fmt.Sprintf(format, args...)) }

func (s *Step) figure(name string, value any) { s.Figures[name] = value }

// expect adds a problem unless ok is true.
func (s *Step) expect(ok bool, format string, args ...any) {
	if ok {
		return
	}
	if s.Problem != "" {
		s.Problem += "; "
	}
	s.Problem += fmt.Sprintf(format, args...)
}

// run makes the lab and runs all steps. Unexpected results are in the Story; the error is
// about making or removing the lab.
func run(ctx context.Context, o options) (story Story, err error) {
	began := time.Now()
	lab, err := build(ctx, o.plugin)
	if err != nil {
		return story, fmt.Errorf("make the lab: %w", err)
	}
	defer func() {
		if o.keep && err == nil {
			return
		}
		err = errors.Join(err, lab.close(ctx))
	}()
	story.OK = true
	for _, t := range steps {
		s := Step{Name: t.name, Title: t.title, Figures: map[string]any{}}
		start := time.Now()
		if err := t.run(ctx, lab, &s); err != nil {
			s.expect(false, "%v", err)
		}
		s.OK = s.Problem == ""
		s.Seconds = time.Since(start).Seconds()
		story.OK = story.OK && s.OK
		story.Steps = append(story.Steps, s)
		if o.observe != nil {
			o.observe(s)
		}
		if ctx.Err() != nil {
			return story, ctx.Err()
		}
	}
	story.Ruleset = lab.ruleset
	if o.keep {
		story.Enter = lab.enterCommands()
		story.Inspect = fmt.Sprintf("masq-cni inspect --netns %s --state-dir %s", lab.Node.Path(), lab.stateDir())
	}
	story.Seconds = time.Since(began).Seconds()
	return story, nil
}
