package conftree

import "testing"

func TestFaultsInOrder(t *testing.T) {
	var r Reader
	if r.IsFaulty() || r.Faults() != nil {
		t.Error("a new reader is faulty")
	}
	at := func(file string, line, column int) Place { return Place{file, line, column} }
	r.Fault(at("b", 1, 1), "toPorts", `"x"`, "is wrong", "change it")
	r.Fault(at("a", 0, 0), "", "", "the file is too long", "give a shorter file")
	r.Fault(at("a", 2, 1), "mtu", "", "is given twice", "keep one of them")
	r.Fault(at("a", 1, 9), "", `"*x"`, "is an alias", "write it out")
	want := `a:1:9: "*x" is an alias; write it out
a:2:1: mtu is given twice; keep one of them
a: the file is too long; give a shorter file
b:1:1: toPorts: "x" is wrong; change it`
	if got := r.Faults("a", "b").Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := (Fault{Line: 3, Column: 4, Key: "mtu", Value: "1", Message: "is wrong"}).Error(); got != "line 3, column 4: mtu: 1 is wrong" {
		t.Error(got)
	}
}
