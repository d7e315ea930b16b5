package reconcile

import (
	"testing"
	"time"
)

func TestBudget(t *testing.T) {
	var b budget
	now := time.Unix(0, 0)
	if !b.isLeft(now) {
		t.Error("nothing is left at the beginning")
	}
	b.spend(now, workBudget-time.Millisecond)
	if !b.isLeft(now) {
		t.Error("nothing is left although a millisecond is")
	}
	b.spend(now, 2*time.Millisecond)
	if b.isLeft(now) {
		t.Error("something is left after more work than the budget")
	}
	if later := now.Add((pauseFactor + 1) * 2 * time.Millisecond); !b.isLeft(later) {
		t.Error("a pause does not restore the budget")
	}
	if b.remaining(now.Add(time.Hour)) != 0 {
		t.Error("a long pause leaves a debt")
	}
}
