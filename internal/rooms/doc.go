// Package rooms puts the rooms together: the one store that is behind the stores of all of
// them, the job engine with every kind of job, and the janitor that removes what nobody
// needs any more. It owns no rule of its own. A new room gets its view of the store here,
// and a line in NewEngine where its kinds of jobs are registered.
package rooms
