-- Remove an entry that has no notification (a refused accept's leftover, or a second entry). (Prologue: _fence.lua)
leave()
return 'OK'
