"""The stand-in org's objects, in a notation of its own: the facts that describe would give, and nothing else.

Flags of relations are those of recorded describes (API 48 to 59); where no record has them (Individual, files, mails,
relations of activities, consents as parents) they are chosen from the documentation and unconfirmed.

Notation. `Object prefix flags`: C createable, U updateable, D deletable, Q queryable, B goes to the recycle bin, S
searchable, M mergeable, O has an owner. Then one field a line: `Name type [length] [marks]`, marks: `required`,
`readonly`, `nofilter`, `extid`, `unique`, `restricted=A|B`. A reference: `Name > Parent.ChildrenName flags, ...`; flags
of the relation: `c` cascades, `r` restricts, `x` isn't listed by the parent; ` ro` at the end: can't be set. Without a
name the relation can't be used in a sub-select. A line that ends with a comma goes on.
Every object has Id, IsDeleted and the audit fields besides.
"""

from __future__ import annotations

from connectors.salesforce.sandbox.more_objects import CONSENT, CUSTOM, SYSTEM

PEOPLE = """
Account 001 CUDQBSMO
  Name string 255 required
  IsPersonAccount boolean readonly
  PersonContactId > Contact x ro
  FirstName string 40
  LastName string 80
  PersonEmail email
  PersonMobilePhone phone
  PersonHomePhone phone
  PersonBirthdate date
  PersonIndividualId > Individual
  PersonHasOptedOutOfEmail boolean
  PersonMailingStreet textarea 255
  Phone phone
  Fax phone
  BillingStreet textarea 255
  BillingCity string 40
  Website url 255
  Description textarea 32000 nofilter
  ParentId > Account.ChildAccounts
  MasterRecordId > Account x ro
  Customer_Number__c string 40 extid unique
Contact 003 CUDQBSMO
  Salutation picklist 40
  FirstName string 40
  LastName string 80 required
  Name string 121 readonly
  IsPersonAccount boolean readonly
  AccountId > Account.Contacts c
  ReportsToId > Contact
  IndividualId > Individual.Contacts
  MasterRecordId > Contact x ro
  Email email
  Second_Email__c email
  Phone phone
  MobilePhone phone
  HomePhone phone
  OtherPhone phone
  Birthdate date
  Title string 128
  MailingStreet textarea 255
  MailingCity string 40
  MailingPostalCode string 20
  MailingCountry string 80
  Description textarea 32000 nofilter
  HasOptedOutOfEmail boolean
  HasOptedOutOfFax boolean
  DoNotCall boolean
  Customer_Number__c string 40 extid unique
  Favourite_Referrer__c > Contact.Referred__r
Lead 00Q CUDQBSMO
  FirstName string 40
  LastName string 80 required
  Name string 121 readonly
  Company string 255 required
  Email email
  Phone phone
  MobilePhone phone
  Street textarea 255
  City string 40
  Description textarea 32000 nofilter
  LeadSource picklist 40
  Status picklist 40 required
  HasOptedOutOfEmail boolean
  DoNotCall boolean
  IsConverted boolean readonly
  ConvertedContactId > Contact ro
  ConvertedAccountId > Account ro
  ConvertedOpportunityId > Opportunity ro
  IndividualId > Individual.Leads
  MasterRecordId > Lead x ro
Individual 0PK CUDQBSMO
  FirstName string 40
  LastName string 80 required
  Name string 121 readonly
  BirthDate date
  ShouldForget boolean
  HasOptedOutProcessing boolean
  HasOptedOutProfiling boolean
  HasOptedOutSolicit boolean
  HasOptedOutTracking boolean
  HasOptedOutGeoTracking boolean
  SendIndividualData boolean
  CanStorePiiElsewhere boolean
  MasterRecordId > Individual x ro
User 005 CUQS
  Username string 80 required unique
  FirstName string 40
  LastName string 80 required
  Name string 121 readonly
  Email email required
  Phone phone
  MobilePhone phone
  Alias string 8 required
  IsActive boolean
  IsPortalEnabled boolean
  UserType picklist 40 readonly
  ContactId > Contact.Users r ro
  AccountId > Account.Users ro
  ManagerId > User.ManagedUsers
  IndividualId > Individual.Users
Organization 00D UQ
  Name string 80 required
  InstanceName string 5 readonly
  OrganizationType picklist 40 readonly
  IsSandbox boolean readonly
UserPermissionAccess 0up Q
  PermissionsApiEnabled boolean readonly
  PermissionsBulkApiHardDelete boolean readonly
  PermissionsModifyAllData boolean readonly
  PermissionsViewAllData boolean readonly
"""

SERVICE = """
Case 500 CUDQBSO
  CaseNumber string 30 readonly
  Subject string 255
  Description textarea 32000 nofilter
  Status picklist 40 required
  Origin picklist 40
  IsClosed boolean readonly
  AccountId > Account.Cases r
  ContactId > Contact.Cases r, Account.PersonCases r
  ParentId > Case.Cases
  SuppliedEmail email
  SuppliedName string 80
  SuppliedPhone string 40
  ContactEmail email readonly
  ContactPhone phone readonly
CaseComment 00a CUDQBS
  ParentId > Case.CaseComments c
  CommentBody textarea 4000 nofilter
  IsPublished boolean
CaseTeamMember - CUDQ
  ParentId > Case.TeamMembers c
  MemberId > Contact c, User c
CaseContactRole 03j CUDQ
  CasesId > Case.CaseContactRoles c
  ContactId > Contact.CaseContactRoles c, Account.PersonCaseContactRoles c
  Role picklist 40
CaseHistory - Q
  CaseId > Case.Histories c
  Field picklist 255
  OldValue string 255 nofilter
  NewValue string 255 nofilter
EmailMessage 02s CUDQBS
  ParentId > Case.EmailMessages c
  RelatedToId > Account.Emails, Case.Emails, Opportunity.Emails, Contract.Emails, Order.Emails
  ActivityId > Task
  ReplyToEmailMessageId > EmailMessage
  Subject string 3000
  FromName string 1000
  FromAddress email
  ToAddress string 4000
  CcAddress string 4000
  BccAddress string 4000
  TextBody textarea 131072 nofilter
  HtmlBody textarea 131072 nofilter
  Status picklist 40 restricted=0|1|2|3|4|5
  Incoming boolean
  IsExternallyVisible boolean
  MessageDate datetime
EmailMessageRelation 0CZ CUDQ
  EmailMessageId > EmailMessage.EmailMessageRelations c
  RelationId > Contact.EmailMessageRelations c, Lead.EmailMessageRelations c, User.EmailMessageRelations c
  RelationType picklist 40
  RelationAddress string 255
LiveChatTranscript 570 CUDQBSO
  ContactId > Contact.LiveChatTranscripts
  LeadId > Lead.LiveChatTranscripts
  CaseId > Case.LiveChatTranscripts
  AccountId > Account.LiveChatTranscripts
  Body textarea 131072 nofilter
WorkOrder 0WO CUDQBSO
  AccountId > Account.WorkOrders
  CaseId > Case.WorkOrders
  ContactId > Contact.WorkOrders, Account.PersonWorkOrders
  Subject string 255
"""

ACTIVITIES = """
Task 00T CUDQBSO
  Subject combobox 255
  Description textarea 32000 nofilter
  Status picklist 40 required
  ActivityDate date
  IsClosed boolean readonly
  IsArchived boolean readonly
  WhoId > Contact.Tasks c, Lead.Tasks c
  WhatId > Account.Tasks c, Case.Tasks c, Opportunity.Tasks c, Contract.Tasks c, Order.Tasks c
  AccountId > Account ro
TaskRelation 0RT CDQ
  TaskId > Task.TaskRelations c
  RelationId > Contact.TaskRelations c, Lead.TaskRelations c
  IsWhat boolean readonly
Event 00U CUDQBSO
  Subject combobox 255
  Description textarea 32000 nofilter
  Location string 255
  StartDateTime datetime required
  EndDateTime datetime
  IsArchived boolean readonly
  WhoId > Contact.Events c, Lead.Events c
  WhatId > Account.Events c, Case.Events c, Opportunity.Events c, Contract.Events c, Order.Events c
  AccountId > Account ro
EventRelation 0RE CUDQ
  EventId > Event.EventRelations c
  RelationId > Contact.EventRelations c, Lead.EventRelations c, User.EventRelations c
  IsWhat boolean readonly
  Response string 4000
Attachment 00P CUDQBSO
  ParentId > *.Attachments c
  Name string 255 required
  Body base64
  Description textarea 500
Note 002 CUDQBSO
  ParentId > Account.Notes c, Contact.Notes c, Lead.Notes c, Opportunity.Notes c, Contract.Notes c, Order.Notes c
  Title string 80 required
  Body textarea 32000 nofilter
ContentDocument 069 UDQBSO
  Title string 255 required
  FileType string 20 readonly
  LatestPublishedVersionId > ContentVersion ro
ContentVersion 068 CUQSO
  ContentDocumentId > ContentDocument.ContentVersions c
  FirstPublishLocationId > *
  Title string 255 required
  PathOnClient string 500
  VersionData base64
  IsLatest boolean readonly
ContentDocumentLink 06A CUDQ
  ContentDocumentId > ContentDocument.ContentDocumentLinks c
  LinkedEntityId > *.ContentDocumentLinks c, User.ContentDocumentLinks c
  ShareType picklist 40
  Visibility picklist 40
FeedItem 0D5 CUDQS
  ParentId > * c, User c
  Body textarea 10000 nofilter
  Type picklist 40
  InsertedById > User
FeedComment 0D7 CUDQS
  FeedItemId > FeedItem.FeedComments c
  ParentId > *
  CommentBody textarea 10000 nofilter
EntitySubscription 0E8 CDQ
  ParentId > *.FeedSubscriptionsForEntity c, User.FeedSubscriptionsForEntity c
  SubscriberId > User.FeedSubscriptions c
ContactFeed - DQ
  ParentId > Contact.Feeds c
  Body textarea 10000 nofilter
  Type picklist 40
CaseFeed - DQ
  ParentId > Case.Feeds c
  Body textarea 10000 nofilter
  Type picklist 40
LeadFeed - DQ
  ParentId > Lead.Feeds c
  Body textarea 10000 nofilter
  Type picklist 40
"""

SALES = """
Opportunity 006 CUDQBSO
  Name string 120 required
  StageName picklist 40 required
  CloseDate date required
  Amount currency
  AccountId > Account.Opportunities c
  ContactId > Contact.Opportunities, Account.PersonOpportunities ro
  Description textarea 32000 nofilter
OpportunityContactRole 00K CUDQ
  OpportunityId > Opportunity.OpportunityContactRoles c
  ContactId > Contact.OpportunityContactRoles c, Account.PersonOpportunityContactRoles c
  Role picklist 40
AccountContactRole 02Z CUDQ
  AccountId > Account.AccountContactRoles c
  ContactId > Contact.AccountContactRoles c, Account.PersonAccountContactRoles c
  Role picklist 40
AccountContactRelation 07k CUDQ
  AccountId > Account.AccountContactRelations c
  ContactId > Contact.AccountContactRelations c
  IsDirect boolean readonly
Campaign 701 CUDQBSO
  Name string 80 required
CampaignMember 00v CUDQ
  CampaignId > Campaign.CampaignMembers c
  ContactId > Contact.CampaignMembers c, Account.PersonCampaignMembers c
  LeadId > Lead.CampaignMembers c
  LeadOrContactId > Contact, Lead, Account
  Email email readonly
  FirstName string 40 readonly
  LastName string 80 readonly
  Phone phone readonly
  Status picklist 40
Contract 800 CUDQBSO
  ContractNumber string 30 readonly
  Status picklist 40 required
  StatusCode picklist 40 readonly
  AccountId > Account.Contracts cr
  CustomerSignedId > Contact.ContractsSigned r, Account.PersonContractsSigned r
  Description textarea 32000 nofilter
Order 801 CUDQBSO
  OrderNumber string 30 readonly
  Status picklist 40 required
  StatusCode picklist 40 readonly
  EffectiveDate date required
  AccountId > Account.Orders cr
  ContractId > Contract.Orders c
  BillToContactId > Contact r, Account r
  ShipToContactId > Contact r, Account r
  CustomerAuthorizedById > Contact r, Account r
  BillingStreet textarea 255
  ShippingStreet textarea 255
  Description textarea 32000 nofilter
ServiceContract 810 CUDQBSO
  Name string 255 required
  AccountId > Account.ServiceContracts r
  ContactId > Contact.ServiceContracts r, Account.PersonServiceContracts r
Invoice 3tt CUQSO
  InvoiceNumber string 255 readonly
  BillToContactId > Contact.Invoices, Account.PersonInvoices
  BillingAccountId > Account.Invoices c
  Description textarea 255
Asset 02i CUDQBSO
  Name string 255 required
  AccountId > Account.Assets c
  ContactId > Contact.Assets c, Account.PersonAssets c
  SerialNumber string 80
"""

# `*` stands for these objects, which take files, feeds and followers.
ANYTHING = ("Account", "Contact", "Lead", "Case", "Task", "Event", "Opportunity", "Contract", "Order", "EmailMessage")

OBJECTS = PEOPLE + SERVICE + ACTIVITIES + SALES + CONSENT + SYSTEM + CUSTOM

# Views of FeedItem: a row of FeedItem under a parent of that object.
FEED_VIEWS = {"ContactFeed": "Contact", "CaseFeed": "Case", "LeadFeed": "Lead"}
