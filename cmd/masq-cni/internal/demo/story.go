// Package demo tells the story of masquerading: each step first without the part
// of masq-cni that it is about, then with it, and what the far end saw.
package demo

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Options of a run.
type Options struct {
	Plugin  string // path of the plugin binary
	Keep    bool   // leave the lab
	Observe func(Step)
}

// Story is what came of it.
type Story struct {
	Steps   []Step  `json:"steps"`
	Ruleset string  `json:"ruleset"` // in the kernel while the last steps ran
	OK      bool    `json:"ok"`
	Seconds float64 `json:"seconds"`
	// Enter says how to enter each namespace of a lab that was kept.
	Enter map[string]string `json:"enter,omitempty"`
	// Inspect looks at the node of a lab that was kept.
	Inspect string `json:"inspect,omitempty"`
}

// Step is one thing shown.
type Step struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	// Text tells it in plain words.
	Text []string `json:"text"`
	// Figures were read at the far end unless they say otherwise; durations are in
	// seconds, sizes in bytes.
	Figures map[string]any `json:"figures"`
	OK      bool           `json:"ok"`
	// Problem says what is not as it should be.
	Problem string  `json:"problem,omitempty"`
	Seconds float64 `json:"seconds"`
}

func (s *Step) say(format string, args ...any) { s.Text = append(s.Text, fmt.Sprintf(format, args...)) }

func (s *Step) figure(name string, value any) { s.Figures[name] = value }

// expect notes what is not as it should be.
func (s *Step) expect(ok bool, format string, args ...any) {
	if ok {
		return
	}
	if s.Problem != "" {
		s.Problem += "; "
	}
	s.Problem += fmt.Sprintf(format, args...)
}

// Run tells the story. The error says that the lab could not be made or cleared
// away; what is not as it should be within it is in the Story.
func Run(ctx context.Context, o Options) (story Story, err error) {
	began := time.Now()
	lab, err := build(ctx, o.Plugin)
	if err != nil {
		return story, fmt.Errorf("make the lab: %w", err)
	}
	defer func() {
		if o.Keep && err == nil {
			return
		}
		err = errors.Join(err, lab.close(ctx))
	}()
	story.OK = true
	for _, t := range tale {
		s := Step{Name: t.name, Title: t.title, Figures: map[string]any{}}
		start := time.Now()
		if err := t.tell(ctx, lab, &s); err != nil {
			s.expect(false, "%v", err)
		}
		s.OK = s.Problem == ""
		s.Seconds = time.Since(start).Seconds()
		story.OK = story.OK && s.OK
		story.Steps = append(story.Steps, s)
		if o.Observe != nil {
			o.Observe(s)
		}
		if ctx.Err() != nil {
			return story, ctx.Err()
		}
	}
	story.Ruleset = lab.ruleset
	if o.Keep {
		story.Enter = lab.enter()
		story.Inspect = fmt.Sprintf("masq-cni inspect --netns %s --state-dir %s", lab.Node.Path(), lab.state())
	}
	story.Seconds = time.Since(began).Seconds()
	return story, nil
}
