'use strict';
// The page is whole without this: it keeps it as it is, and brings what one does to the API.
(() => {
  const $ = (id) => document.getElementById(id);
  const live = $('live');
  const say = (word, gone) => { if (live) { live.textContent = word; live.className = gone ? 'gone' : ''; } };
  const well = () => { const old = $('alarm')?.textContent; say(old ? '○ old' : '● live', old); };
  const made = (html) => { const t = document.createElement('template'); t.innerHTML = html; return t.content; };
  // Who stood on a link stands on it still.
  const keep = (box, change) => {
    const on = document.activeElement;
    const href = box.contains(on) && on.getAttribute('href');
    change();
    if (href) document.querySelector('a[href="' + CSS.escape(href) + '"]')?.focus();
  };
  const parts = {
    part: ([id, html]) => { const box = $(id); if (box) keep(box, () => { box.innerHTML = html; }); },
    row: ([id, html]) => {
      const old = $(id);
      if (!old) return;
      const row = made(html).firstElementChild;
      if (old.className !== row.className) row.classList.add('new');
      keep(old, () => old.replaceWith(row));
    },
    alarm: ([text]) => { $('alarm').hidden = !text; $('alarm').textContent = text; well(); },
    clock: ([text]) => { $('clock').textContent = text; },
  };
  let open = null;
  const follow = (url, on) => {
    let last = '';
    const start = () => {
      if (open || document.hidden) return;
      open = new EventSource(last ? url().replace(/after=\d*/, 'after=' + last) : url());
      open.onopen = well;
      open.onerror = () => {
        say('○ not connected', true);
        // It comes back by itself unless refused.
        if (open && open.readyState === 2) { open = null; setTimeout(start, 3000); }
      };
      on(open, (id) => { last = id; });
    };
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden) return start();
      if (open) open.close();
      open = null;
    });
    addEventListener('pagehide', () => { if (open) open.close(); open = null; });
    addEventListener('pageshow', start);
    start();
  };
  const body = document.body.dataset;
  if (body.live) follow(() => body.live + location.search, (source) => {
    for (const kind of Object.keys(parts)) source.addEventListener(kind, (e) => parts[kind](JSON.parse(e.data)));
  });
  if (body.events) {
    const query = new URLSearchParams(location.search);
    // An older page does not change.
    if (!query.has('before')) follow(() => body.events + '?q=' + encodeURIComponent(query.get('q') || '') + '&after=' + body.after, (source, seen) => {
      source.onmessage = (e) => {
        seen(e.lastEventId);
        const box = $('events');
        const row = made(JSON.parse(e.data)[0]).firstElementChild;
        if (box.querySelector('[data-seq="' + row.dataset.seq + '"]')) return;
        row.classList.add('new');
        box.prepend(row);
        while (box.children.length > 500) box.lastElementChild.remove();
      };
    });
  }
  // All of this page anew, but what one is told.
  const refresh = async () => {
    if (document.querySelector('dialog[open]')) return;
    const answer = await fetch(location.href);
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
    const said = $('said') && $('said').textContent;
    keep($('main'), () => $('main').replaceChildren(...page.getElementById('main').childNodes));
    document.title = page.title;
    if (said && $('said')) $('said').textContent = said;
    acts();
  };
  if (body.poll === '') setInterval(() => document.hidden || refresh(), 60000);
  if (body.reload) follow(() => body.reload, (source) => { source.onmessage = refresh; });
  addEventListener('keydown', (e) => {
    if (e.key === '/' && $('q') && !/INPUT|SELECT|TEXTAREA/.test(e.target.tagName)) { e.preventDefault(); $('q').focus(); }
  });
  for (const input of document.querySelectorAll('.filter input[type=radio], .filter select')) input.addEventListener('change', () => input.form.submit());

  // The token is kept for this tab alone, and is no cookie: no other page can make a browser send it.
  const token = () => sessionStorage.getItem('token') || '';
  const send = async (path, what, method = 'POST') => {
    const head = { 'Content-Type': 'application/json' };
    if (token()) head.Authorization = 'Bearer ' + token();
    const answer = await fetch(path, { method, headers: head, body: what && JSON.stringify(what), credentials: 'omit' });
    const text = await answer.text();
    if (answer.status === 401) sessionStorage.removeItem('token');
    if (!answer.ok) { const told = JSON.parse(text); throw new Error(told.detail + (told.help ? ' (' + told.help + ')' : '')); }
    return text;
  };
  const asked = (title, fields) => new Promise((done) => {
    const box = document.createElement('dialog');
    const form = document.createElement('form');
    form.method = 'dialog';
    const h = document.createElement('h2');
    h.textContent = title;
    form.append(h);
    for (const [name, label, kind, options] of fields) {
      const l = document.createElement('label');
      l.textContent = label + ' ';
      const input = document.createElement(options ? 'select' : 'input');
      input.name = name;
      if (!options) { input.type = kind; input.autocomplete = 'off'; }
      for (const o of options || []) input.append(new Option(o || 'until it is over', o));
      l.append(input);
      form.append(l);
    }
    for (const [value, word] of [['yes', title], ['', 'Cancel']]) {
      const b = document.createElement('button');
      b.value = value;
      b.textContent = word;
      form.append(b, ' ');
    }
    box.append(form);
    box.addEventListener('close', () => {
      const values = Object.fromEntries(new FormData(form));
      box.remove();
      done(box.returnValue === 'yes' ? values : null);
    });
    document.body.append(box);
    box.showModal();
  });
  const secret = () => body.token === undefined || token() ? [] : [['token', 'Token', 'password']];
  const acts = () => {
    const box = document.querySelector('.acts');
    if (!box) return;
    box.hidden = false;
    const name = box.dataset.name;
    for (const button of box.querySelectorAll('button')) button.onclick = async () => {
      const kind = button.dataset.do;
      const why = ['reason', 'Why', 'text'];
      const fields = { run: secret(), ack: [why, ['for', 'For how long', '', ['', '1h', '4h', '1d', '7d']], ...secret()], silence: [why, ['for', 'For how long', '', ['1h', '2h', '4h', '1d', '7d']], ...secret()] }[kind];
      const given = fields.length ? await asked(button.textContent, fields) : {};
      if (!given) return;
      if (given.token) sessionStorage.setItem('token', given.token);
      delete given.token;
      if (!given.for) delete given.for;
      $('said').textContent = '…';
      try {
        if (kind === 'run') {
          const rows = (await send('/v1/run', { match: name })).trim().split('\n').map((l) => JSON.parse(l));
          $('said').textContent = 'It ran: ' + rows[0].status + ', ' + rows[0].message;
        } else {
          await send(kind === 'ack' ? '/v1/ack' : '/v1/silences', { ...given, [kind === 'ack' ? 'name' : 'match']: name });
          $('said').textContent = kind === 'ack' ? 'Acknowledged.' : 'Silenced.';
        }
        await refresh();
      } catch (e) { $('said').textContent = 'Not done: ' + e.message; }
    };
  };
  acts();
  for (const button of document.querySelectorAll('[data-end]')) {
    button.hidden = false;
    button.onclick = async () => {
      const given = secret().length ? await asked('End it', secret()) : {};
      if (!given) return;
      if (given.token) sessionStorage.setItem('token', given.token);
      try { await send('/v1/silences/' + button.dataset.end, null, 'DELETE'); location.reload(); } catch (e) { $('said').textContent = 'Not done: ' + e.message; }
    };
  }
})();
