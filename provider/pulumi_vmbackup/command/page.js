"use strict";
(() => {
  const form = document.getElementById("filter");
  const field = (id) => document.getElementById(id);
  const groups = [...document.querySelectorAll("tbody")].map((body) => ({
    body,
    rows: [...body.rows].slice(1).map((row) => ({ row, name: row.cells[0].textContent.toLowerCase() })),
  }));
  const filter = () => {
    const name = field("name").value.trim().toLowerCase();
    const host = field("host").value;
    const changes = field("changes")?.checked;
    const withoutOffsite = field("without-offsite").checked;
    let shown = 0;
    let all = 0;
    for (const { body, rows } of groups) {
      let some = false;
      for (const { row, name: own } of rows) {
        const fits = own.includes(name)
          && (!host || body.dataset.host === host)
          && (!changes || "changes" in row.dataset)
          && (!withoutOffsite || "withoutOffsite" in row.dataset);
        row.hidden = !fits;
        some ||= fits;
        shown += fits;
      }
      body.hidden = !some;
      all += rows.length;
    }
    field("shown").textContent = `${shown} of ${all} VMs`;
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  filter();
})();
