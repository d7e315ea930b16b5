package main

import (
	"strings"
	"testing"
)

func TestSectionSaysWhatIsMissed(t *testing.T) {
	var b strings.Builder
	s := section{title: "Calls", note: "Note.", rows: []row{
		{what: "floor", show: millis, values: sample{2, 1, 3}},
		{
			what: "masq", show: millis, values: sample{2, 4, 6}, against: "ptp",
			ratio: &ratio{0.2, 0.1, 0.3}, target: target{limit: 0.2, side: atMost},
		},
		{
			what: "rate", show: perSecond, values: sample{1234567}, against: "bare",
			ratio: &ratio{0.979, 0.9, 1}, target: target{limit: 0.98, side: atLeast},
		},
		{
			what: "unmeasured", show: plain, values: sample{}, target: target{limit: 1, side: atMost},
		},
	}}
	if err := s.write(&b); err != nil {
		t.Fatal(err)
	}
	want := `
### Calls

| | median | p10 – p90 | compared with | ratio | p10 – p90 | target | |
|---|--:|--:|---|--:|--:|--:|---|
| floor | 2.00 ms | 1.00 ms – 3.00 ms |  |  |  |  |  |
| masq | 4.00 ms | 2.00 ms – 6.00 ms | ptp | 0.200 | 0.100 – 0.300 | ≤ 0.2 | met |
| rate | 1,234,567/s |  | bare | 0.979 | 0.900 – 1.000 | ≥ 0.98 | **missed** |
| unmeasured | NaN |  |  |  |  | ≤ 1 | **missed** |

Note.
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}
